"""What supervisor, template and children say to each other, and the pipe that carries it."""
