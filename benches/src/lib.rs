//! One file per boundary: wire, table, wheel, lane, ring, whole server.
