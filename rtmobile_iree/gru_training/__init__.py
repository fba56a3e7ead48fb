"""GRU stacks as training runs them: whole utterances at once, dense or under masks."""
