//! The pages of a long listing are paid for by whoever has it read.
