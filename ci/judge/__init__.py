"""What every judging script needs: a plain client, and a server process with its ports, memory and CPU.

Standard library only, so that a judge runs on a bare machine. Nothing in here knows Corewheel beyond its flags.
"""
