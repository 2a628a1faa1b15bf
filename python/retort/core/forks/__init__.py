"""A process that has imported what takes long, and becomes other processes by fork.

PyTorch and transformers take four seconds of a core to import; a fork takes a hundredth of one, and
shares their memory. A forked process has computed nothing, and knows what an interpreter knows that
has just imported these modules.

Each process has a connection of its own to the server: over it go what to run and its standard
files, come its number and, at its end, its exit code. Closing the connection ends the process: none
outlives whoever asked for it, nor the server, and the server not its owner, however they die.
"""
