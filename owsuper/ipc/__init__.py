"""Messages between supervisor, template and child processes, and the pipe that carries them."""
