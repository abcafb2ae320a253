//! The rules of the house, on the repository as it is.

mod house;
mod metrics;
mod published;
