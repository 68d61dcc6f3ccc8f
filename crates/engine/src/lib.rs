//! The compute engine of dinoxide.
