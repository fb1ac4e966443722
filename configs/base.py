"""Every key of a training run, with its meaning and default. Other configs start from this one.

`python launch.py --list_keys` prints this page; `--list_keys=optimizer` prints the keys that match.
The keys of other modes are in `configs/modes/`.
"""

from ml_collections import ConfigDict, FieldReference


def get_config() -> ConfigDict:
    c = ConfigDict()

    # The method: a file in experiments/.
    c.method = 'sngan'
    # Seed of the initial weights, the order of the images, z, labels and augmentations.
    c.seed = 0
    # The checkpoint that the run begins with, WORKDIR@STEP; launch.py --init_from sets it. Empty: a
    # fresh start.
    c.init_from = ''
    # Length of the run in generator updates. Schedules do not depend on it.
    c.num_steps = 50_000
    # Generator updates in one XLA program. Every interval below must be a multiple of it.
    # 0: 1 on a CPU, 50 on accelerators.
    c.steps_per_call = 0
    # Real images per discriminator update, over all devices.
    c.batch_size = 64
    # Fakes per generator update, over all devices.
    c.gen_batch_size = 128
    # Discriminator updates per generator update.
    c.n_dis = 5
    # Gradient-accumulation steps. Activation memory shrinks by this factor; batch norm uses the
    # statistics of each part. 1: whole batches.
    c.accumulate = 1
    # Which network is updated first in a step: gen_first (official SNGAN code), dis_first (Algorithm
    # 1 of Goodfellow et al. 2014) or same_fakes: gen_first, with one batch of fakes for the update
    # of the generator and the first of the discriminator (chainer-gan-lib's DCGAN and WGAN-GP).
    c.update_order = 'gen_first'
    # The pair of losses, by its name in snjax/objectives/losses.py.
    c.loss = 'hinge'
    # Bound on the absolute value of every discriminator parameter (WGAN: 0.01). 0: no clipping.
    c.clip = 0.0

    # The two networks.
    c.model = ConfigDict()
    # resnet (tables 4 to 6 of the SNGAN paper), sngan_cnn (the CNN of table 3), wgan_gp_cnn (that
    # of WGAN-GP), r3gan, biggan, biggan_deep or radford (DCGAN's generator, for GLO).
    c.model.architecture = 'resnet'
    # Version of the network where sources differ: paper, code (sngan_cnn), wgan_gp,
    # mimicry or pytorch (resnet), imagenet (r3gan), cifar (biggan).
    c.model.variant = 'paper'
    # Channels of the generator's last hidden layer; `ch` in the official code.
    c.model.gen_width = 256
    # Channels of the discriminator's first block or layer.
    c.model.dis_width = 128
    # Length of the latent z.
    c.model.dim_z = 128
    # Distribution of z: normal or uniform.
    c.model.latent = 'normal'
    # Compute type: float32 or bfloat16. Parameters, batch statistics and spectral norms are
    # float32 in both.
    c.model.dtype = 'float32'
    # Recompute the inside of residual blocks (ResNet, BigGAN) in the backward pass: less memory, more
    # work.
    c.model.remat = False
    # Batch-norm statistics over all devices; off: per device, as the official multi-GPU code.
    c.model.sync_batch_norm = True
    # Running variance of the generator's batch norms: biased, the mean of the batches' variances, or
    # unbiased, of those times m / (m - 1) with m values per channel (Ioffe and Szegedy's Algorithm 2,
    # Chainer, PyTorch). It touches images in evaluation, not training.
    c.model.running_variance = 'biased'
    # When power iterations advance: per_update (once in each update of the layer's player),
    # per_forward (in every application of a layer, as in the official code) or per_joint_forward (the
    # same, with real images and fakes in one, as in BigGAN's code).
    c.model.spectral_updates = 'per_update'
    # Normalization of the discriminator: spectral, none, weight, layer, batch, or tracked (spectral
    # norms are computed and logged, weights are not divided by them).
    c.model.normalization = 'spectral'
    # Normalization of the generator's weights: none or spectral.
    c.model.gen_normalization = 'none'
    # Operator whose largest singular value is sigma: reshaped (the kernel as a matrix, as in the paper),
    # bidirectional, or convolution (the convolution itself).
    c.model.sn_operator = 'reshaped'
    # Side of the class embedding (projection) that u belongs to: features, or rows, the classes, as
    # in the official code.
    c.model.embed_u = 'features'
    # A learnable factor gamma on every normalized weight.
    c.model.sn_scale = False
    # Fixed factor on every normalized weight: the Lipschitz constant K of eq. 5, per layer.
    c.model.lipschitz = 1.0
    # Fixed factor on the output of the whole discriminator.
    c.model.dis_lipschitz = 1.0
    # Initial kernels of the discriminator: published (those of the architecture) or orthogonal.
    c.model.dis_init = 'published'
    # Power iterations each time they advance.
    c.model.n_power_iterations = 1
    # Extra power iterations when the network is initialized.
    c.model.n_warmup_iterations = 0
    # Largest singular values of every normalized layer that are followed and logged (BigGAN's num_svs);
    # the first is sigma.
    c.model.n_singular_values = 1
    # Number of classes the networks are conditioned on: that of the image set. 0: unconditional.
    c.model.num_classes = 0
    # Numbers per image that the networks are conditioned on, in place of classes: attributes of 0 and
    # 1, or quantities, of the set's table (data.conditions). 0: none.
    c.model.num_conditions = 0
    # Classes of fakes: uniform (the published codes); set: as often as in the training set; or real:
    # those of the batch's real images, with which a relativistic loss pairs them. With set and real,
    # scores have the set's shares, too. (With num_conditions: real.)
    c.model.fake_classes = 'uniform'
    # Where classes enter the generator: batch_norm (a row of gamma and beta per class, as published)
    # or concat (the class beside z), which keeps variety inside classes of few images, and is how
    # r3gan is published (an embedding of the class).
    c.model.gen_conditioning = 'batch_norm'
    # Generator updates for which training ignores classes, which then come in linearly (after
    # Shahbazi et al. 2022).
    c.model.conditioning_start = 0
    # Generator update from which classes count in full. 0: from the start.
    c.model.conditioning_end = 0
    # How the discriminator uses classes: none, projection, or with method=acgan: acgan (it guesses
    # them), contragan or reacgan (images and classes are points on a sphere).
    c.model.head = 'none'
    # Dimension of that sphere's space.
    c.model.dim_embed = 512
    # Height of the feature map with self-attention (ResNet, BigGAN). 0: no attention.
    c.model.attention = 0
    # Whether the discriminator's first convolution halves the image.
    c.model.first_stride2 = False

    # Weights of the penalties in the discriminator's loss; 0: off. The formulas are in
    # snjax/objectives/penalties.py.
    c.penalty = ConfigDict()
    # Gradient penalty of WGAN-GP: its lambda (published: 10).
    c.penalty.gradient = 0.0
    # The same for slopes above 1 only.
    c.penalty.gradient_one_sided = 0.0
    # Drift penalty E[D(x)^2] on real images (published: 0.001).
    c.penalty.drift = 0.0
    # Gradient penalty of DRAGAN: its lambda (published: 10).
    c.penalty.dragan = 0.0
    # R1: gamma, on half the squared slope at real images.
    c.penalty.r1 = 0.0
    # R2: gamma, on half the squared slope at fakes.
    c.penalty.r2 = 0.0
    # Consistency regularization (CR): squared difference of the logits of a real image and of itself
    # mirrored and moved by up to 1/8 (published: 10).
    c.penalty.consistency = 0.0
    # The same for fakes; with both it is balanced (bCR; published: 10 each).
    c.penalty.consistency_fake = 0.0
    # Distance of every kernel from an orthonormal one.
    c.penalty.orthonormal = 0.0
    # Orthogonal regularization of the generator (method biggan): its kernels' columns at right angles
    # (published: 1e-4).
    c.penalty.gen_orthogonal = 0.0
    # Squared norm of every kernel (weight decay).
    c.penalty.l2 = 0.0
    # Spectral norm regularization: lambda, on half the sum of sigma^2.
    c.penalty.spectral = 0.0
    # zCR, latent consistency: squared difference of the logits of fakes of two close latents (published
    # with bCR, as ICR: 20).
    c.penalty.latent_consistency = 0.0
    # The other half of zCR, in the generator's loss: the mean squared distance of these two fakes, which
    # it is to enlarge (published: 0.5).
    c.penalty.gen_latent_distance = 0.0
    # How far apart they are: the second is z plus this times another z (published: 0.05).
    c.penalty.latent_radius = 0.05
    # LeCam (few images): squared distance of the logits of real images from a moving average of those
    # of fakes, and the reverse (published: 0.3 for BigGAN, 3e-7 to 1e-6 for StyleGAN2).
    c.penalty.lecam = 0.0
    # Decay of these averages (published: 0.99; 0.9 in the code for BigGAN).
    c.penalty.lecam_decay = 0.99
    # Generator updates before the averages and the penalty begin (the code for BigGAN: 1000).
    c.penalty.lecam_start = 0
    # Only logits beyond the other's average count, as in the published code; off: all, as in the paper.
    c.penalty.lecam_one_sided = False
    # Where R1 and R2 take the gradient (method r3gan): on, at images before data.augment, through
    # it, as R3GAN's code; off, at augmented ones.
    c.penalty.through_augment = False

    # What the discriminator learns of classes beside real and fake: method acgan.
    c.acgan = ConfigDict()
    # Weight of classifying real images, in the discriminator's loss.
    c.acgan.dis_weight = 1.0
    # Weight of classifying fakes as the class they were made for, in the generator's loss.
    c.acgan.gen_weight = 0.1
    # Temperature of similarities, of model.head=contragan (published: 1) and reacgan (0.5).
    c.acgan.temperature = 1.0
    # Similarity to its class from which an image is near enough, of model.head=reacgan.
    c.acgan.margin = 0.98

    # GLO: a generator and one learned latent per training image, without a discriminator.
    c.glo = ConfigDict()
    # Loss of the generator: l1, l2, lap1 or l2_lap1 of snjax/objectives/reconstruction.py.
    c.glo.loss = 'l2_lap1'
    # Loss of the latents. Empty: that of the generator.
    c.glo.z_loss = ''
    # Number of times the Laplacian pyramid of lap1 halves the image.
    c.glo.levels = 3
    # Weight of level j of the pyramid: level_means, 2^(2j) on sums, or fine, 2^(-2j).
    c.glo.weighting = 'level_means'
    # The pyramid: binomial, or minimal_glo, to compare with that port.
    c.glo.pyramid = 'binomial'
    # Initial latents: scaled_normal, normal, pca or whitened_pca.
    c.glo.initial = 'scaled_normal'
    # Optimizer of the latents, by the names of optimizer.name.
    c.glo.z_optimizer = 'sgd'
    # Learning rate of the latents (10 suits SGD). It decays as optimizer.lr does.
    c.glo.z_lr = 10.0

    # The training images.
    c.data = ConfigDict()
    # digits, folder, npz, parquet, or the name of an image set in TensorFlow Datasets (TFDS).
    c.data.name = 'cifar10'
    # Split of the set.
    c.data.split = 'train'
    # Pixels of a square's side, or height,width as 48,64.
    c.data.image_size = FieldReference(32, field_type=object)  # of either type
    # How images of another shape are made to fit: crop (resized until they cover the size, the middle
    # kept), pad (resized into it, black around them) or stretch.
    c.data.fit = 'crop'
    # 1 (grey), 2 (grey, alpha), 3 (colour) or 4 (colour, alpha), to which images are converted; or the
    # channels of an .npz file, up to 16.
    c.data.channels = 3
    # Bits of a pixel's value: 8, or 16 for grey images and .npz files.
    c.data.bits = 8
    # Mirror each image with probability 1/2.
    c.data.flip = False
    # Scaling to [-1, 1]: on, x/128 - 1 + U(0, 1/128); off, x/127.5 - 1. (Of 16 bits, in steps of
    # 1/32768 and 1/32767.5.)
    c.data.dequantize = True
    # Differentiable augmentation of everything the discriminator sees: any of
    # color,translation,cutout, with commas, or a pipeline of ADA: blit, geom, bg, bgc (its default),
    # bgcf, bgcfn, bgcfnc. Empty: none.
    c.data.augment = ''
    # Probability of each of them, and of each transformation of a pipeline, for each image.
    c.data.augment_chance = 1.0
    # ADA (Karras et al. 2020): the probability begins at 0 and rises, to augment_chance at most, while
    # the mean sign of the discriminator's logits of real images is above this. Published: 0.6. 0: off.
    c.data.augment_target = 0.0
    # Real images that the discriminator sees while that probability moves by 1.
    c.data.augment_images = 500_000
    # The folder or .zip archive, .npz file, or .parquet file, for name=folder, npz and parquet.
    c.data.path = ''
    # What gives the classes. For name=folder the name of a .csv or .json table in the folder, or
    # folders, the first-level subfolders; for name=parquet a column. Empty: found by its name.
    c.data.labels = ''
    # What gives numbers to the images of a folder: TABLE or TABLE:COLUMN,COLUMN of a .csv or .json in
    # it. Empty: conditions.csv or conditions.json, if it is there.
    c.data.conditions = ''
    # Where TFDS keeps its data. Empty: the variable TFDS_DATA_DIR, or the default of TFDS.
    c.data.data_dir = ''
    # Where prepared sets are kept. Empty: the variable SNJAX_CACHE, or ~/.cache/snjax.
    c.data.cache_dir = ''
    # Stream batches from the host: on, off, or auto (on if the set takes more than half of a
    # device's memory). decode: on, and decode images as they are read instead of preparing a file.
    # The results are the same, bit for bit.
    c.data.stream = 'auto'
    # Threads that read batches ahead. 0: one per core.
    c.data.workers = 0
    # Leave out images of a folder that cannot be decoded, and name them.
    c.data.skip_broken = False
    # Go on although the set is not the one that the run was trained on. Holds for one start.
    c.data.accept_changed = False

    # The optimizers of both networks.
    c.optimizer = ConfigDict()
    # adam, rmsprop (beta2 is its decay) or sgd.
    c.optimizer.name = 'adam'
    # Learning rate.
    c.optimizer.lr = 2e-4
    # Learning rate of the discriminator. 0: that of the generator.
    c.optimizer.dis_lr = 0.0
    # Decay of the mean of the gradients.
    c.optimizer.beta1 = 0.0
    # Decay of the mean of the squared gradients.
    c.optimizer.beta2 = 0.9
    # Added to the denominator.
    c.optimizer.eps = 1e-8
    # Where Adam adds eps: adam, to the square root of the corrected mean (Algorithm 1 of Kingma and
    # Ba, PyTorch), or chainer, to that of the uncorrected one (Chainer, TensorFlow).
    c.optimizer.eps_form = 'adam'
    # Generator update after which the learning rates fall linearly.
    c.optimizer.decay_start = 0
    # Generator update at which the learning rates reach 0. 0: they stay constant.
    c.optimizer.decay_end = 0
    # Updates by which the generator's decay runs ahead of the discriminator's.
    # (improved_wgan_training counts a step from the generator's update on: 1.)
    c.optimizer.gen_lead = 0
    # Decay of the moving average of the generator (EMA), batch statistics included. 0: no average.
    c.optimizer.ema_decay = 0.0
    # Generator update from which that average begins; it is the weights until then. 0: it follows from
    # the start, and forgets it fast.
    c.optimizer.ema_start = 0

    # R3GAN's burn-in: values that begin at another key's value, or at 0, and go to the one named
    # here along half a cosine.
    c.burn_in = ConfigDict()
    # Generator updates that it takes. Need not be whole. 0: no burn-in.
    c.burn_in.steps = 0.0
    # Learning rate of both players at its end. 0: that of optimizer.lr throughout.
    c.burn_in.lr = 0.0
    # beta2 at its end. 0: that of optimizer.beta2 throughout.
    c.burn_in.beta2 = 0.0
    # Weights of R1 and R2 at its end. 0: those of penalty.r1 and penalty.r2 throughout.
    c.burn_in.gamma = 0.0
    # The half-life of the moving average grows from 0 to that of optimizer.ema_decay.
    c.burn_in.ema = False
    # The probability data.augment_chance grows from 0.
    c.burn_in.augment = False

    # What a run takes of the checkpoint that it begins with (init_from).
    c.transfer = ConfigDict()
    # state: all of it, which must fit; the count of steps and the schedules go on. weights: the weights
    # and batch statistics that fit, at step 0, for fine-tuning on other images.
    c.transfer.take = 'state'
    # The optimizer's state, with take=weights: fresh, or kept by players whose weights all fit.
    c.transfer.optimizer = 'fresh'
    # The moving average, with take=weights: kept, or fresh, which begins with the weights.
    c.transfer.ema = 'kept'
    # Number of the discriminator's lowest blocks, from the image up, whose weights stay as they were
    # taken (FreezeD, Mo et al. 2020).
    c.transfer.frozen = 0

    # Checkpoints; a run resumes from the newest good one.
    c.checkpoint = ConfigDict()
    # Generator updates between checkpoints.
    c.checkpoint.every = 1000
    # Number of newest checkpoints to keep.
    c.checkpoint.keep = 3
    # Checkpoints at multiples of this are kept as well. 0: none.
    c.checkpoint.keep_every = 0

    # metrics.jsonl and TensorBoard.
    c.log = ConfigDict()
    # Generator updates between logged values.
    c.log.every = 100
    # Generator updates between histograms of the weights. 0: none.
    c.log.histograms_every = 0

    # What watches a training (docs/reliability.md).
    c.sentinel = ConfigDict()
    # Images of each kind by which the signs of a collapse are measured, at every log.every but not
    # more often than every 50 updates. 0: none.
    c.sentinel.num = 32
    # Times that a run which diverges goes back to its newest checkpoint and on with other noise,
    # before it ends. 0: it ends at once.
    c.sentinel.rollbacks = 0

    # Grids of samples while training.
    c.sampling = ConfigDict()
    # Generator updates between grids. 0: none.
    c.sampling.every = 1000
    # Number of images in a grid.
    c.sampling.num = 100

    # Norms, slopes and logits of the discriminator while training (docs/usage/diagnose.md).
    c.diagnostics = ConfigDict()
    # Generator updates between them; every 1000 costs the demo 1 %, and compiling once. 0: none.
    c.diagnostics.every = 0

    # Scores while training and at its end.
    c.eval = ConfigDict()
    # Feature network: digits, cifar_resnet56, inception (FID), inception_clean, dinov2, clip;
    # fitted, a classifier of the set's own classes; patches, the sliced Wasserstein distance, which
    # needs no network; or a function of your own, as my_features:dino. Empty: no scores.
    c.eval.extractor = ''
    # File or folder with the weights of the feature network. Empty: the variable SNJAX_WEIGHTS, or
    # ~/.cache/snjax/weights.
    c.eval.weights = ''
    # Number of fakes, compared with the whole training set.
    c.eval.num_samples = 1000
    # Generator updates between scores while training; the best checkpoint is kept. 0: only at the
    # end.
    c.eval.every = 0
    # Fakes per call of the generator, over all devices.
    c.eval.batch_size = 128
    # Images of each kind (real, fake) for precision, recall, density and coverage.
    c.eval.neighbour_num = 10_000
    # Seed of z and of every random choice in the scores.
    c.eval.seed = 0
    # A misspelt key is refused, not ignored.
    return c.lock()
