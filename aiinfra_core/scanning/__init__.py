"""Whether loading an artifact would run code that somebody put into it. Nothing is ever loaded to find out.

    formats     what a file is, told by its first bytes: formats that cannot hold code, those that can, programs
    heads       the first bytes of every file, kept while the artifact is read and hashed anyway
    scan        the front door: judges an artifact, signs what was found
    process     looks into what can hold code, in a process of its own with limits of time and memory
    looking     what that process does: containers opened, pickles disassembled;  keras: what a Keras configuration would run

`formats`, `looking` and `keras` use the standard library and picklescan alone, so that the process starts fast and knows nothing.
"""
