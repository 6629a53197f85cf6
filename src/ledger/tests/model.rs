//! Random histories against a model that is too simple to be wrong: sums in maps.
