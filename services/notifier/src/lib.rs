//! Decides who is told, and tells them once.
