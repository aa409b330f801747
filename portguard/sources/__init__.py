"""Other files of the project that say something about its ports."""
