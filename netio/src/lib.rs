//! Bytes and the kernel: rings, sockets, buffers, clocks.
