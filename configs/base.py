"""Every key there is, with its meaning. The other configs start from this one and change what their paper changes."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.method = 'sngan'  # a file in experiments/
    c.seed = 0
    c.num_steps = 50_000  # generator updates; where the run stops, and nothing else
    c.steps_per_call = (
        0  # updates per XLA program; divides every interval. 0: 1 on a CPU, 50 elsewhere
    )
    c.batch_size = 64  # real images per discriminator update, over all devices
    c.gen_batch_size = 128  # fakes per generator update
    c.n_dis = 5  # discriminator updates per generator update
    c.fakes_at_once = (
        False  # the n_dis batches of fakes in one pass of the generator: the same images
    )
    c.accumulate = (
        1  # parts of a batch, one after the other: as much less memory; batch norm sees a part
    )
    c.update_order = (
        'gen_first'  # gen_first (official code) or dis_first (Goodfellow et al.'s Algorithm 1)
    )
    c.loss = 'hinge'  # a pair of snjax/objectives/losses.py
    c.clip = 0.0  # bound on every parameter of the discriminator (WGAN: 0.01); 0: none

    c.model = ConfigDict()
    c.model.architecture = (
        'resnet'  # resnet (tables 4 to 6 of the paper), standard (CNN, table 3), dcgan or radford
    )
    c.model.variant = 'paper'  # of the standard CNN: paper or code, which disagree
    c.model.gen_width = 256  # the official code's ch
    c.model.dis_width = 128
    c.model.dim_z = 128
    c.model.latent = 'normal'  # normal or uniform
    c.model.dtype = 'float32'  # or bfloat16; parameters, statistics and spectral norms stay float32
    c.model.remat = False  # ResNet: blocks compute again for the gradient: less memory, more work
    c.model.sync_batch_norm = (
        True  # statistics over all devices; off: per device, as the official multi-GPU code
    )
    c.model.spectral_updates = 'per_update'  # or per_forward (official code)
    c.model.normalization = 'spectral'  # of D: spectral, none, weight, layer, batch, or tracked:
    # sigmas are known, weights stay as they are
    c.model.gen_normalization = 'none'  # or spectral
    c.model.sn_operator = 'reshaped'  # the paper's kernel matrix, bidirectional, or convolution
    c.model.sn_scale = False  # a learnable factor gamma on every normalised weight
    c.model.lipschitz = 1.0  # fixed factor on every normalised weight: K of eq. (5), per layer
    c.model.dis_lipschitz = 1.0  # and on D as a whole
    c.model.dis_init = 'published'  # or orthogonal: the kernels of D
    c.model.n_power_iterations = 1
    c.model.n_warmup_iterations = 0  # further power iterations at the start

    c.model.num_classes = 0  # that the players are told of: those of the set; 0: none
    c.model.head = 'none'  # how D is told: projection or acgan
    c.model.attention = 0  # height of the feature map that attends to itself; 0: none
    c.model.first_stride2 = False  # D's first convolution halves the image

    c.penalty = ConfigDict()  # weights in D's loss; snjax/objectives/penalties.py has the formulas
    c.penalty.gradient = 0.0  # WGAN-GP, GAN-GP: lambda (10)
    c.penalty.gradient_one_sided = 0.0  # the same for slopes above 1 alone
    c.penalty.drift = 0.0  # E[D(x)^2] (0.001)
    c.penalty.dragan = 0.0  # lambda (10)
    c.penalty.r1 = 0.0  # gamma, on half the squared slope at real images
    c.penalty.r2 = 0.0  # and at fakes
    c.penalty.orthonormal = 0.0
    c.penalty.l2 = 0.0
    c.penalty.spectral = 0.0  # lambda, on half the sum of sigma^2

    c.acgan = ConfigDict()
    c.acgan.dis_weight = 1.0  # of classifying real images, in D's loss
    c.acgan.gen_weight = 0.1  # of fakes classified as meant, in G's

    c.glo = ConfigDict()
    c.glo.loss = 'l2_lap1'  # of snjax/objectives/reconstruction.py: l1, l2, lap1, l2_lap1
    c.glo.z_loss = ''  # what the latents descend, where it is another
    c.glo.levels = 3  # halvings of the pyramid of lap1
    c.glo.weighting = 'level_means'  # of its levels: 2^(2j) on sums, or fine: 2^(-2j)
    c.glo.pyramid = 'binomial'  # or minimal_glo, for comparison with that port
    c.glo.initial = 'scaled_normal'  # latents at the start; or normal, pca, whitened_pca
    c.glo.z_optimizer = 'sgd'
    c.glo.z_lr = 10.0  # with SGD; falls with optimizer.lr

    c.data = ConfigDict()
    c.data.name = 'cifar10'  # digits, folder, npz, or a TFDS image set
    c.data.split = 'train'
    c.data.image_size = 32  # images are resized and cropped to it
    c.data.channels = 3  # 1 or 3; images are converted
    c.data.flip = False
    c.data.dequantize = True  # x/128 - 1 + U(0, 1/128); off: x/127.5 - 1
    c.data.augment = ''  # color,translation,cutout or some: of all that D sees, differentiable
    c.data.path = ''  # of a folder or an .npz
    c.data.data_dir = ''  # of TFDS; empty: TFDS_DATA_DIR, or TFDS's default
    c.data.cache_dir = ''  # of prepared sets; empty: SNJAX_CACHE, or ~/.cache/snjax
    c.data.stream = (
        'auto'  # from the host, read ahead: on, off, or auto: where half of a device is too
    )
    # small for the set; decode: on, and no prepared file on disk. It changes no bit of a run
    c.data.workers = 0  # threads that read ahead; 0: one per core
    c.data.skip_broken = False  # leave out images of a folder that cannot be read, and say which

    c.optimizer = ConfigDict()
    c.optimizer.name = 'adam'  # adam, rmsprop (beta2 is its decay) or sgd
    c.optimizer.lr = 2e-4
    c.optimizer.dis_lr = 0.0  # of D where it is another; 0: the same
    c.optimizer.beta1 = 0.0
    c.optimizer.beta2 = 0.9
    c.optimizer.eps = 1e-8
    c.optimizer.decay_start = 0  # the rate falls linearly from here ...
    c.optimizer.decay_end = 0  # ... to 0 here, in generator updates; 0: it does not fall
    c.optimizer.ema_decay = 0.0  # moving average of the generator and its batch statistics; 0: none

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 1000
    c.checkpoint.keep = 3  # the latest so many
    c.checkpoint.keep_every = 0  # and every multiple of this; 0: none

    c.log = ConfigDict()
    c.log.every = 100
    c.log.histograms_every = 1000

    c.sampling = ConfigDict()  # grids while training, and --mode=sample
    c.sampling.every = 1000
    c.sampling.num = 100  # of a grid, and of what=samples
    c.sampling.what = 'samples'  # interpolation, morph (of classes), neighbours (in the data); of
    # GLO also reconstruction, arithmetic, latent_neighbours
    c.sampling.format = 'grid'  # grid, images or npz; of interpolation and morph also gif and webp
    c.sampling.seed = 0  # of --mode=sample; grids follow the run's seed
    c.sampling.truncation = 0.0  # bound on |z|; 0: none
    c.sampling.weights = 'auto'  # ema, raw, or auto: ema where there is one
    c.sampling.step = 0  # of the checkpoint; 0: the newest
    c.sampling.label = -1  # class of a conditional model, in a morph the first; -1: all in turn
    c.sampling.label_to = -1  # class that a morph ends in; -1 with label=-1: it goes through all
    c.sampling.rows = 8  # interpolations or morphs, each from z of its own; samples with neighbours
    c.sampling.frames = 10  # of each; gif and webp come back to the first, and loop
    c.sampling.points = 0  # z that each goes through; 0: 2, and 1 in a morph, where z stays then
    c.sampling.path = 'slerp'  # between z: slerp (around 0) or lerp (in line); uniform z: lerp
    c.sampling.fps = 10.0  # frames per second of gif and webp
    c.sampling.prior = 'full'  # fitted to the latents of GLO: full, diagonal, mixture, class
    c.sampling.components = 10  # of prior=mixture
    c.sampling.images = ''  # of GLO's training set: 3,17,... to interpolate between, or to
    # reconstruct; groups for arithmetic, as 1,2-8,9+4
    c.sampling.latents = ''  # .npz of --mode=invert, to interpolate between encoded images
    c.sampling.others = ''  # workdirs of other runs, whose reconstructions stand beside: a,b
    c.sampling.neighbours = 5  # nearest training images of each sample

    c.inversion = ConfigDict()  # --mode=invert: z whose image, measured, is what was measured
    c.inversion.operator = 'identity'  # or inpaint, superresolve, denoise, compressed_sensing
    c.inversion.path = ''  # a folder of images, in the order of their names; empty: the run's set
    c.inversion.split = ''  # of the run's set, as test; empty: that of the training. digits: none
    c.inversion.num = 16  # images: the folder's first, or drawn from the split
    c.inversion.restarts = 4  # starts of each; classes that are not known are taken in turn
    c.inversion.steps = 300  # of Adam from each
    c.inversion.lr = 0.1  # its rate at the first step; half a cosine leads to 0
    c.inversion.prior_weight = 1e-3  # of |z|^2 / (2 dim_z); 0 under uniform z
    c.inversion.loss = 'l2'  # between measurements, a mean over their values: l2 or l1; of whole
    # images (identity, denoise) also lap1 and l2_lap1
    c.inversion.mask = 'centre'  # hidden by inpaint: centre (square), random (pixels), half (lower)
    c.inversion.fraction = 0.25  # of the pixels that it hides
    c.inversion.factor = 4  # of superresolve, in height and in width
    c.inversion.noise = 0.2  # of denoise: standard deviation, in units of [-1, 1]
    c.inversion.measurements = 100  # of compressed_sensing: random projections of an image
    c.inversion.batch_size = 64  # starts in one call of the generator
    c.inversion.seed = 0  # of the draw, the starts, the noise, random pixels and projections
    c.inversion.weights = 'auto'  # ema, raw, or auto: ema where there is one
    c.inversion.step = 0  # of the checkpoint; 0: the newest

    c.eval = ConfigDict()  # scores, at the end of the run, while it trains, and by --mode=evaluate
    c.eval.extractor = ''  # digits, cifar_resnet56, inception (FID), or empty: none
    c.eval.weights = (
        ''  # of the extractor: file or folder; empty: SNJAX_WEIGHTS, or ~/.cache/snjax/weights
    )
    c.eval.num_samples = 1000  # fakes of the run's own scores, beside its whole training set
    c.eval.every = 0  # generator updates between scores while training; 0: none. The best is kept
    c.eval.protocols = ''  # of --mode=evaluate: paper, 10k_10k_test, 50k_50k_train, or
    # SPLIT/REAL/FAKE, as train/all/1000; several with commas; empty: that of the run's own scores
    c.eval.variants = 'auto'  # EMA where there is one, running statistics; grid: all; or some, as
    # ema/running,raw/batch,ema/reestimated
    c.eval.batch_size = 128  # fakes a call, and what batch statistics are of
    c.eval.neighbour_num = 10_000  # of each kind, for precision, recall, density and coverage
    c.eval.seed = 0  # of z, and of the draws of pairs
    c.eval.nearest = 0  # fakes to show beside their nearest training images, by features
    c.eval.step = 0  # of the checkpoint; 0: the newest, and the best where one is kept
    c.eval.steps = ''  # or of several, as 10000,20000: scored in turn, each kept as it is found
    return c.lock()  # a misspelt key is refused, not ignored
