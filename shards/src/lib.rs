//! What one core owns: wire formats, slots, records, table, wheel, commands.
