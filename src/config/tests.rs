//! Whole files: what is good, and what each mistake looks like.
