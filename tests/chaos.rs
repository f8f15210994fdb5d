//! Chaos in a short form.
