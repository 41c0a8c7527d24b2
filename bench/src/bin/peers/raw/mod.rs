//! What the memory allows: loops that do a switch's work and nothing else, beside which every figure is also a
//! fraction. `ring` is the ring they share, `stage` a contender (generate and sink on core 0, learn, look up and copy
//! once on core 1), `probes` the others: a copying ring, one core alone, two wake-ups.

pub mod probes;
pub mod ring;
pub mod stage;
pub mod table;
