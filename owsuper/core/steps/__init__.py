"""The kinds of steps: generators that yield effects and return a step's value."""
