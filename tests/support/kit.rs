//! Engine against model: chance, the model, a store that misbehaves, and both side by side.

pub mod faulty_store;
pub mod model;
pub mod rng;
pub mod world;
