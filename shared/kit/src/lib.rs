//! How things are heard and said: the log, deciders, keepers, workers and projections.
