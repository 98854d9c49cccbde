"""The step protocol, written once: generators that yield effects and return a step's value."""
