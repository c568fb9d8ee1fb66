// Package logprobs tests whether an answer was drawn from the model that was asked,
// where bits cannot be compared: servers on GPUs differ in kernels, batches and
// drivers. A reference with the same weights reads prompt and answer once, as it
// would read a prompt ("teacher forcing"), and tells of each token how likely it was
// (internal/llm, Model.Score). This package turns that into a verdict. It is pure.
//
// # The statistics
//
// For n tokens, with the reference's probabilities p at the temperature T asked for:
//
//	margin    greedy answers (T = 0): the mean of how far each token's logit is below
//	          the reference's best, each clipped at [Clip]. Token-DiFR (Karvonen et
//	          al., arXiv 2511.20621) at temperature 0.
//	surprise  drawn answers (T > 0, nothing cut away by top_k, top_p or min_p):
//	          Z = Σ(−log p(token) − H) / √ΣV, H and V being mean and variance of
//	          −log p under the reference's own distribution at each place
//	claims    where the server told logprobs: the mean of how far each is from the
//	          reference's, each clipped at [Clip]
//
// DiFR's form for drawn answers compares the token with the one that the reference
// draws with the same random numbers. That asks for servers that share their
// generator, and the OpenAI API does not: vLLM, llama.cpp and Ollama each draw in
// their own way from one seed. Surprise needs no common generator. TOPLOC (Ong et
// al., arXiv 2501.16007) compares hidden states, which that API does not show;
// claims stand in their place, and are weaker: they bind the server's words, not its
// work. A cheat that draws with a small model and reads the result with the true one
// passes claims, and is caught by margin or surprise.
//
// # Thresholds and false alarms
//
// An honest server's logits differ from the reference's by noise, and each statistic
// is held to a level that noise passes but with probability alpha.
//
// Margin and claims are means of values in [0, Clip] whose expectation, given what
// was before, is at most μ for honest servers: [Rule.Margin] and [Rule.Claims]. Then
// their variance is at most Clip·μ, and by Freedman's inequality a mean over
//
//	μ + √(2·Clip·μ·L/n) + Clip·L/(3n),   L = ln(1/alpha),
//
// has probability alpha at most, however the tokens depend on each other. μ is an
// assumption about honest servers, not a fact: [Default] takes four times what was
// measured between the profiles f32 and q8 of one model, which is far more than
// kernels of one precision differ.
//
// The terms of Z are martingale differences, so Z is normal with variance 1 in the
// limit if the reference's distribution is the one drawn from; noise in the logits
// moves it in second order alone. [Rule.Slack] times √n is allowed for that, and |Z|
// is compared with the two-sided quantile. Answers of fewer than [Least] tokens are
// not judged: nothing can be said of them.
//
// The tests hold this against our own model of a million weights: honest answers
// (f32 judged by q8) pass, and a model without its last layer, other text, another
// temperature and weights in 3 bits are caught within 1,600 tokens. Weights in 4
// bits change it too little for that, and those in 3 bits show in drawn answers by
// what the server claims alone.
//
// # What a failure means
//
// It withholds pay. It is never proof, so it neither counts against the node's record
// nor costs a stake.
package logprobs
