//! The history checkers against histories that are known to be good and known to be bad, and the one for reads against
//! an exhaustive search.

mod history {
    mod linearizable;
    mod search;
    mod text;
    mod watching;
}
