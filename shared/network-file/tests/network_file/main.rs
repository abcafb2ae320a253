//! The network file: what is read from it, the errors it is answered with, and the samples.

mod golden;
mod samples;
