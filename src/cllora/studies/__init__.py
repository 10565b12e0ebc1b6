"""Studies of papers. Each is a plug-in, loaded as anybody's file is: nothing else in the package imports one."""
