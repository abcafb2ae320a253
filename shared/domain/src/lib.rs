//! What follows from what: topology, supply, the walk, incidents and who is told.
