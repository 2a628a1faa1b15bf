"""The engine's own provider under another name: a file cannot define what it also reads."""

BuiltinPyInfo = PyInfo
