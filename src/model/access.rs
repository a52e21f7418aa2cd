//! Which clients a service lets in.

use super::Cidr;

/// The prefixes that a service allows and denies, in the order of [`Cidr`], each once. Of those that an address lies in
/// the longest decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRules {
    /// Prefixes, and whether their addresses are let in.
    pub rules: Vec<(Cidr, bool)>,
    /// What holds for an address in none of them: true unless there is a list of those who may.
    pub otherwise: bool,
}
