//! The front desk: the REST API, the import of networks and a status page.
