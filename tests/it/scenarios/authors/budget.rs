//! Where a platform takes less than is asked for, it is shared by author.
