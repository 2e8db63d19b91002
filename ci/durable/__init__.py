"""Proof from outside that what was acknowledged is there after a crash: real processes, real files, SIGKILL.

Standard library only, as all judges. The simulator kills far more often and knows the disk's every trick; what is here has no part in
the program it judges.
"""
