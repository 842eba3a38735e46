"""What differs between episodes: scenes, the ranges that they are drawn from, and the model that shows them."""
