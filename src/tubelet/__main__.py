from tubelet.cli import entry

entry()
