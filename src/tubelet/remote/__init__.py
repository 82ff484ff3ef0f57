"""Files in object stores and on web servers, read where they lie by ranges. Start reading at `file.RemoteFile`."""
