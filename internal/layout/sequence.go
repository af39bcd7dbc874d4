package layout

// What a sequence says, which is a segment's version: each commit adds 2, and it is odd from a commit's beginning to its
// end, or for as long as nobody takes over from a writer that died in between.

// Commits returns how many commits there were, without one in progress.
func Commits(sequence uint64) uint64 { return sequence / 2 }

// InCommit says whether a commit is in progress, or its writer died in it.
func InCommit(sequence uint64) bool { return sequence%2 != 0 }

// LastCommitted returns the sequence of the last commit, without one in progress.
func LastCommitted(sequence uint64) uint64 { return sequence - sequence%2 }
