//! A whole network of devices in one thread, on one seed: time, tasks, network, power cuts and people.

pub mod sim_check;
pub mod sim_http;
pub mod sim_line;
pub mod sim_net;
pub mod sim_time;
pub mod sim_world;
