"""What makes a release. `main` drives; each other module makes one kind of file, and knows of none of the others."""
