"""The studies that come with tubelet, by what they ask."""
