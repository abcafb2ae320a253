//! Gathers changes of health into incidents.
