"""What a frozen encoder is worth for planning, without a predictor: does its energy fall towards a goal?"""
