//! The machine that turns: cores, lanes, the turn loop, and the corewheel program.
