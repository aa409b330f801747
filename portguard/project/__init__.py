"""Which ports a project needs, whose numbers they are, and what makes a holder ours. Answers no question by itself."""
