"""Whether loading an artifact would run code that somebody put into it. Nothing is ever loaded to find out.

    formats     what a file is, told by its bytes: formats that cannot hold code, those that can, programs
    texts       what is in all of a text;  headers: formats that say in a header what all of their bytes are
    besides     what else a file is: a zip at its end, an HDF5 file behind something else
    heads       what is kept of every file while the artifact is read and hashed anyway
    scan        the front door: judges an artifact, signs what was found
    process     looks into what can hold code, in a process of its own with limits of time and memory
    looking     what that process does: containers opened, pickles disassembled;  keras: what a Keras configuration would run

All of them but `heads`, `scan` and `process` use the standard library and picklescan alone, so
that the process starts fast and knows nothing.
"""
