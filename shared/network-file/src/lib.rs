//! What an operator writes down: the network file, its errors and its generator.
