"""What ``owsuper bench`` measures, and the application that its workers load."""
