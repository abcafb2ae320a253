//! The deciders on simulated networks, by seed.

mod churn;
mod seeds;
