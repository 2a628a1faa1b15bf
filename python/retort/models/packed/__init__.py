"""Transformers as packed forward passes: sequences one after another, no padding, no mask, the same bits everywhere."""
