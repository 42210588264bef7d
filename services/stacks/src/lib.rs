//! Service `stacks`.
