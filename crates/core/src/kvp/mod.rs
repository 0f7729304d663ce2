//! Key-value exchange: the engine, the pools, the intrinsic items and the IP information.
