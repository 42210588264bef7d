//! Service `machines`.
